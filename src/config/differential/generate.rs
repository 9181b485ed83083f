//! Expressions to compare with Terraform: for each function the combinations of telling arguments, and the forms of the
//! language itself. The same on every run.

/// Most expressions of one function and one number of arguments.
const MOST: usize = 600;

type Pool = &'static [&'static str];

const NUMBERS: Pool = &[
    "0", "1", "-1", "2", "3", "10", "-5", "0.5", "-0.5", "1.5", "2.5", "-2.5", "1e3", "1e-3", "0.1 + 0.2", "7 / 2",
    "123456789012345678901234567890", "9007199254740993", "\"5\"", "\"-3.25\"", "\"abc\"", "\"\"", "true", "null",
    "[]", "[1]", "{}",
];
const SMALL: Pool = &["0", "1", "2", "3", "5", "-1", "-2", "-4", "100", "1.5", "\"2\"", "\"x\"", "null", "true"];
const TEXTS: Pool = &[
    r#""""#, r#""a""#, r#""abc""#, r#""abcabc""#, r#""Hello, World""#, r#""héllo wörld""#, r#""ÀÉÎ""#, r#""ß""#,
    r#""日本語""#, r#""👨‍👩‍👧x""#, r#""a b  c""#, r#"" pad ""#, r#""\t\n x\n""#, r#""line\r\n""#, r#""a\nb\n\nc""#, r#""a,b,,c""#,
    r#""x=y&z""#, r#""100%""#, r#""$${a}""#, r#""\"q\"""#, r#""back\\slash""#, r#""1""#, r#""true""#, r#""a_b-c.d""#,
    r#""ŉ ǆ İ""#, "5", "1.50", "true", "null", "[]", "{}",
];
const BITS: Pool = &[
    r#""""#, r#""a""#, r#""b""#, r#""c""#, r#""ab""#, r#"",""#, r#"" ""#, r#""l""#, r#""ö""#, r#""abc""#, r#""\n""#, r#""?!""#, r#""/a+/""#,
    r#""/(b)/""#, r#""/""#, "1", "true", "null", "[]",
];
const LISTS: Pool = &[
    "[]", r#"["a"]"#, r#"["a", "b", "c"]"#, r#"["b", "a", "b"]"#, "[1, 2, 3]", "[3, 1.5, -2]", r#"[1, "a", true]"#,
    r#"[1, "2"]"#, "[true, false]", "[true, 1]", r#"["true", false]"#, "[null]", r#"["a", null, ""]"#, "[[1], [2, 3]]",
    "[[], [[]]]", r#"[["a"], "b"]"#, "[{ a = 1 }, { a = 2 }]", "[{ a = 1 }, { b = 2 }]", r#"[{ a = 1 }, { a = "x" }]"#,
    r#"toset(["b", "a"])"#, "toset([])", "toset([3, 1, 2])", "tolist([1, 2])", r#"tolist(["x", 1])"#, "tolist([])",
    r#"[1.5, 1, "1"]"#, "range(5)", r#""str""#, "{ a = 1 }", "null", "5",
];
const MAPS: Pool = &[
    "{}", "{ a = 1 }", r#"{ a = 1, b = "x" }"#, "{ b = 1, a = 2 }", r#"{ "k y" = 1 }"#, "{ a = { b = 1 } }",
    "{ a = [1, 2] }", "{ a = null }", r#"{ a = "x", b = "y", c = "x" }"#, r#"tomap({ a = "x" })"#, "tomap({ a = 1, b = true })",
    r#"{ "1" = "a" }"#, "{ A = 1, a = 2 }", "{ a = true, b = false }", r#"{ a = ["x"], b = ["y", "z"] }"#, "[]", r#""x""#, "null",
];
const KEYS: Pool = &[r#""a""#, r#""b""#, r#""""#, r#""k y""#, "1", "null", "true", "[]"];
const ANY: Pool = &[
    "null", "true", "false", "0", "1", "-1.5", "1e21", "1e-7", r#""""#, r#""a""#, r#""1""#, r#""true""#, r#""<&>""#, r#""日本\n\t\"\\""#,
    "[]", "[1]", r#"["a", 1]"#, "[true, null]", r#"["1", 1]"#, r#"[["a"], { b = [1] }]"#, "{}", "{ a = 1 }", r#"{ b = "x", a = null }"#,
    r#"{ "x y" = { z = [1, "2"] } }"#, r#"toset(["b", "a", "b"])"#, "tolist([2, 1])", "tomap({ k = 1 })", "toset([])", r#"toset([1, "1"])"#,
];
const FORMATS: Pool = &[
    r#""%s""#, r#""%d""#, r#""%v""#, r#""%#v""#, r#""%q""#, r#""%t""#, r#""%f""#, r#""%5.2f""#, r#""%.0f""#, r#""%-10s|""#, r#""%10s|""#, r#""%5d|""#,
    r#""%-5d|""#, r#""%05d""#, r#""%+d""#, r#""%x""#, r#""%X""#, r#""%o""#, r#""%b""#, r#""%e""#, r#""%E""#, r#""%g""#, r#""%G""#, r#""%.3g""#, r#""%.1e""#, r#""%08.3f""#,
    r#""%+.2f""#, r#""% d""#, r#""%#x""#, r#""%#o""#, r#""%#b""#, r#""%.2s|""#, r#""%8.2s|""#, r#""%-8q|""#, r#""%8v|""#, r#""%%""#, r#""%""#, r#""%z""#, r#""%d%%""#, r#""a%sb%[1]s""#, r#""%[1]d""#, r#""%*d""#,
    r#""%-8t|""#, r#""%6.2f%%""#, r#""%012d""#, r#""% x""#, r#""%+q""#, r#""日本 %s""#, r#""%03d-%s""#, "5", "null",
];
const VALUES: Pool = &[
    "0", "1", "-1", "42", "1.5", "-0.25", "1e20", "1e-5", "123456789.125", "2 / 3", "1000000", "999999", "0.35", "0.125", "2.5", "1e100", r#""""#, r#""abc""#, r#""日本語""#, r#""12""#, r#""x\"y""#, r#""true""#,
    "true", "false", "null", "[]", r#"["a", 1]"#, "{ a = 1 }", "12345678901234567890",
];
const PATTERNS: Pool = &[
    r#""a""#, r#""[a-z]+""#, r#""(\\d+)-(\\d+)""#, r#""(?P<year>\\d{4})-(?P<month>\\d\\d)""#, r#""^$""#, r#""b*""#, r#""(a)|(b)""#, r#""(?i)HELLO""#, r#""(?:x)(y)?""#,
    r#""\\bw\\w+""#, r#""[""#, r#""(""#, r#""(?<n>a)""#, r#""(?P<n>a)(b)""#, r#""\\p{L}+""#, r#""é""#, r#""(?s).+""#, r#""(?m)^.""#, r#""a{2,3}""#, r#""a{1001}""#, r#""(?=a)""#, r#""\\1""#, r#""x*?""#,
    r#""[[:alpha:]]+""#, r#""\\Qa.b\\E""#, r#""\\z""#, r#""[^a-c]""#, "5", "null",
];
const SUBJECTS: Pool = &[
    r#""""#, r#""a""#, r#""aab""#, r#""hello world""#, r#""2026-01-31""#, r#""10-20 30-40""#, r#""xy x""#, r#""é日本 ab""#, r#""a.b\nc\nd""#, r#""ABC abc""#, "12", "null",
];
const REPLACEMENTS: Pool = &[r#""""#, r#""-""#, r#""$1""#, r#""$${1}x""#, r#""$0$0""#, r#""$$""#, r#""é""#, r#""$1x""#, r#""\\n""#, "7", "null"];
const REPLACED: Pool = &[
    r#""""#, r#""a""#, r#""l""#, r#""/l+/""#, r#""/(h)(e)/""#, r#""/^/""#, r#""/x*/""#, r#""/[/""#, r#""/""#, r#""//""#, r#"".""#, r#""/\\s/""#, r#""/(?P<x>o)/""#, r#""o w""#, "1", "null",
];
const TIMES: Pool = &[
    r#""2026-01-31T23:30:00Z""#, r#""2026-01-31T23:30:00+01:00""#, r#""2024-02-29T00:00:00Z""#, r#""1999-12-31T23:59:59-08:00""#, r#""2026-01-31T08:00:00.123Z""#,
    r#""0001-01-01T00:00:00Z""#, r#""9999-12-31T23:59:59Z""#, r#""2026-07-04T05:06:07+05:30""#, r#""2026-01-31 08:00:00Z""#, r#""2026-01-31t08:00:00z""#, r#""2026-01-31T08:00Z""#,
    r#""2026-01-31""#, r#""2026-13-01T00:00:00Z""#, r#""2026-02-30T00:00:00Z""#, r#""2026-01-31T24:00:00Z""#, r#""2026-01-31T08:00:60Z""#, r#""2026-01-31T08:00:00""#, r#""""#, r#""x""#, r#""2026-01-31T08:00:00+24:00""#,
    r#""2026-01-31T08:00:00-00:00""#, r#""2026-1-31T08:00:00Z""#, r#""2026-01-31T8:00:00Z""#, "5", "null",
];
const DURATIONS: Pool = &[
    r#""1h""#, r#""-1h""#, r#""1h30m""#, r#""-90s""#, r#""0""#, r#""0s""#, r#""1.5h""#, r#""100ms""#, r#""1us""#, r#""1µs""#, r#""1ns""#, r#""24h""#, r#""8760h""#, r#""+5m""#, r#"".5s""#, r#""5.s""#, r#""""#, r#""1""#, r#""1d""#, r#""h""#, r#""1h 30m""#,
    r#""999999999h""#, r#""1m1""#, r#""--1h""#, "5", "null",
];
const DATES: Pool = &[
    r#""YYYY-MM-DD""#, r#""YY M D""#, r#""DD MMM YYYY hh:mm ZZZ""#, r#""EEEE, DD-MMM-YY hh:mm:ss ZZZ""#, r#""EEE, DD MMM YYYY hh:mm:ss ZZZ""#, r#""YYYY-MM-DD'T'hh:mm:ssZ""#, r#""MMMM D, YYYY""#, r#""HH:mm AA""#, r#""H:m:s aa""#,
    r#""h m s""#, r#""ZZZZ""#, r#""ZZZZZ""#, r#""Z""#, r#""'it''s'""#, r#""'open""#, r#""YYY""#, r#""MMMMM""#, r#""DDD""#, r#""EE""#, r#""hhh""#, r#""ZZ""#, r#""A""#, r#""""#, r#""--- / .""#, r#""日 D""#, r#""q""#, r#""ZZZZZZ""#, r#""aaa""#, r#""mmm""#, r#""sss""#, r#""D'D'D""#, "5", "null",
];
const JSON: Pool = &[
    r#""null""#, r#""true""#, r#""1""#, r#""1.50""#, r#""-0""#, r#""1e3""#, r#""\"x\"""#, r#""[]""#, r#""{}""#, r#""[1, \"a\", null]""#, r#""{\"b\": 1, \"a\": [true]}""#, r#""{\"a\": 1, \"a\": 2}""#, r#""\"\\u00e9\\n\"""#, r#""\"\\ud83d\\ude00\"""#,
    r#"" 1 ""#, r#""1 2""#, r#""{""#, r#""""#, r#""nul""#, r#""[1,]""#, r#""01""#, r#""'x'""#, r#""{a: 1}""#, r#""\"\t\"""#, r#""12345678901234567890""#, r#""[[[]]]""#, r#""0.1""#, r#""-1.5E-2""#, "5", "null", "true",
];
const YAML: Pool = &[
    r#""null""#, r#""~""#, r#""""#, r#""true""#, r#""yes""#, r#""on""#, r#""1""#, r#""1.5""#, r#""0x1f""#, r#""0o17""#, r#""017""#, r#""1e3""#, r#"".inf""#, r#""1_000""#, r#""abc""#, r#""\"x\"""#, r#""'it''s'""#, r#""[1, a, null]""#, r#""{a: 1, b: [x]}""#, r#""a: 1\nb: 2""#,
    r#""- 1\n- b\n""#, r#""a:\n  - 1\n  - x: y\n""#, r#""a: |\n  line\n  two\n""#, r#""a: >\n  folded\n  text\n""#, r#""a: &x 1\nb: *x\n""#, r#""b: *y\n""#, r#""a: {b: 1""#, r#""a: 1\na: 2\n""#, r##""# only a comment""##, r#""--- 1""#, r#""a: 1\n---\nb: 2\n""#, r#""!!str 1""#, r#""!foo x""#, r#""<<: {a: 1}""#,
    r#""a: &x {k: 1}\nb:\n  <<: *x\n  l: 2\n""#, r#""2026-01-31""#, r#""a: ''""#, r#""a: ""#, r#""1: x""#, r#""? a\n: b\n""#, r#""\ta: 1""#, r#""[a, b""#, r#""a: b: c""#, r#""12345678901234567890""#, r#""!!binary aGk=""#, r#""'é'""#, r#""\"\\u00e9\"""#, r#""-""#, r#""null: 1""#, r#""{}""#, r#""[]""#, "5", "null",
    r#""-0""#, r#""+1""#, r#""1.""#, r#""True""#, r#""NULL""#, r#""Null""#, r#""TRUE""#, r#""tRue""#, r#""y""#, r#""n""#, r#""off""#, r#""-.5""#, r#""0b11""#, r#""1:30""#, r#""- - 1\n  - 2\n""#, r#""a: |-\n  x\n""#, r#""a: |+\n  x\n\n""#, r#""\"a\\\n  b\"""#, r#""&a [*a]""#, r#""true: 1""#, r#""1.5: 1""#,
];
const CSV: Pool = &[
    r#""""#, r#""a,b\n1,2\n""#, r#""a,b\n1,2""#, r#""a,b\r\n1,2\r\n""#, r#""a\n""#, r#""a,b\n1\n""#, r#""a,b\n1,2,3\n""#, r#""a,a\n1,2\n""#, r#""a,b\n\"x,y\",\"q\"\"q\"\n""#, r#""a,b\n\"open,2\n""#, r#""a,b\nx\"y,2\n""#, r#""a,b\n\n1,2\n""#, r#""a, b\n1, 2\n""#, r#""é\n日\n""#, r#""a,b\n\"x\ny\",2\n""#, r#""a,\n1,2\n""#,
    r#"",\n1,2\n""#, r#""a;b\n1;2\n""#, r##""# c\n1\n""##, r#""a\n\"\"\n""#, r#""a\n\"x\"y\n""#, r#""\n\na\n1\n""#, r#""a\n1\n\n""#, "5", "null",
];
const BASE64: Pool = &[r#""""#, r#""aGk=""#, r#""aGk""#, r#""aGk==""#, r#""SGVsbG8sIFdvcmxk""#, r#""w6k=""#, r#""//8=""#, r#""-_8=""#, r#""a b""#, r#""aGk=\n""#, r#""!""#, r#""aG\nk=""#, r#""aGl=""#, "1234", "null"];
const INTS: Pool = &[
    r#""0""#, r#""10""#, r#""-10""#, r#""+10""#, r#""ff""#, r#""FF""#, r#""zz""#, r#""0x1f""#, r#""1_0""#, r#""""#, r#"" 1""#, r#""1.0""#, r#""777""#, r#""102""#, r#""9999999999999999999999999""#, r#""-""#, r#"".5""#, r#""5.""#, r#""1e3""#, r#""1E+2""#, r#""inf""#, r#""-+1""#, r#""1e999""#, "10", "1.5", "null", "true",
];
const BASES: Pool = &["2", "8", "10", "16", "36", "62", "63", "1", "0", "-2", "10.5", "\"10\"", "null"];
const PATHS: Pool = &[
    r#""a.txt""#, r#""./a.txt""#, r#""folder/b.txt""#, r#""missing.txt""#, r#""folder""#, r#""""#, r#""t.tftpl""#, r#""bad.tftpl""#, r#""loop.tftpl""#, r#""latin1.txt""#, "5", "null",
];
const TEMPLATE_VARS: Pool = &[
    "{}", r#"{ name = "x" }"#, r#"{ name = "x", items = [1, 2] }"#, r#"{ name = 5, items = [] }"#, r#"{ name = null, items = ["a"] }"#, "[]", "null", r#"{ "a b" = 1 }"#, r#"{ items = { k = "v" }, name = true }"#,
];
const URLS: Pool = &[r#""a b""#, r#""a+b""#, r#""é""#, r#""/?#[]@!$&'()*+,;=""#, r#""-_.~""#, r#""%20""#, r#""""#, r#""日本""#, r#""\n""#, "1.5", "true", "null", "[]"];

/// What to combine for a function: one row for each number of arguments.
const FUNCTIONS: &[(&str, &[&[Pool]])] = &[
    ("abs", &[&[NUMBERS]]),
    ("ceil", &[&[NUMBERS]]),
    ("floor", &[&[NUMBERS]]),
    ("max", &[&[NUMBERS], &[NUMBERS, NUMBERS], &[NUMBERS, SMALL, SMALL]]),
    ("min", &[&[NUMBERS], &[NUMBERS, NUMBERS], &[NUMBERS, SMALL, SMALL]]),
    ("pow", &[&[NUMBERS, SMALL]]),
    ("signum", &[&[NUMBERS]]),
    ("parseint", &[&[INTS, BASES]]),
    ("log", &[&[NUMBERS, NUMBERS]]),
    ("chomp", &[&[TEXTS]]),
    ("endswith", &[&[TEXTS, BITS]]),
    ("format", &[&[FORMATS, VALUES], &[FORMATS], &[FORMATS, VALUES, VALUES]]),
    ("formatlist", &[&[FORMATS, LISTS], &[FORMATS, LISTS, LISTS], &[FORMATS]]),
    ("indent", &[&[SMALL, TEXTS]]),
    ("join", &[&[BITS, LISTS], &[BITS, LISTS, LISTS]]),
    ("lower", &[&[TEXTS]]),
    ("upper", &[&[TEXTS]]),
    ("regex", &[&[PATTERNS, SUBJECTS]]),
    ("regexall", &[&[PATTERNS, SUBJECTS]]),
    ("replace", &[&[TEXTS, BITS, BITS], &[SUBJECTS, REPLACED, REPLACEMENTS]]),
    ("split", &[&[BITS, TEXTS]]),
    ("startswith", &[&[TEXTS, BITS]]),
    ("strcontains", &[&[TEXTS, BITS]]),
    ("strrev", &[&[TEXTS]]),
    ("substr", &[&[TEXTS, SMALL, SMALL]]),
    ("title", &[&[TEXTS], &[SUBJECTS]]),
    ("trim", &[&[TEXTS, BITS]]),
    ("trimprefix", &[&[TEXTS, BITS]]),
    ("trimsuffix", &[&[TEXTS, BITS]]),
    ("trimspace", &[&[TEXTS]]),
    ("alltrue", &[&[LISTS]]),
    ("anytrue", &[&[LISTS]]),
    ("chunklist", &[&[LISTS, SMALL]]),
    ("coalesce", &[&[], &[ANY], &[ANY, ANY]]),
    ("coalescelist", &[&[LISTS], &[LISTS, LISTS]]),
    ("compact", &[&[LISTS]]),
    ("concat", &[&[], &[LISTS], &[LISTS, LISTS]]),
    ("contains", &[&[LISTS, ANY]]),
    ("distinct", &[&[LISTS]]),
    ("element", &[&[LISTS, SMALL]]),
    ("flatten", &[&[LISTS]]),
    ("index", &[&[LISTS, ANY]]),
    ("keys", &[&[MAPS]]),
    ("length", &[&[TEXTS], &[LISTS], &[MAPS], &[ANY]]),
    ("lookup", &[&[MAPS, KEYS], &[MAPS, KEYS, ANY]]),
    ("matchkeys", &[&[LISTS, LISTS, LISTS]]),
    ("merge", &[&[], &[MAPS], &[MAPS, MAPS]]),
    ("one", &[&[LISTS]]),
    ("range", &[&[SMALL], &[SMALL, SMALL], &[NUMBERS, SMALL, SMALL]]),
    ("reverse", &[&[LISTS]]),
    ("setintersection", &[&[LISTS], &[LISTS, LISTS]]),
    ("setproduct", &[&[LISTS], &[LISTS, LISTS]]),
    ("setsubtract", &[&[LISTS, LISTS]]),
    ("setunion", &[&[LISTS], &[LISTS, LISTS]]),
    ("slice", &[&[LISTS, SMALL, SMALL]]),
    ("sort", &[&[LISTS]]),
    ("sum", &[&[LISTS]]),
    ("transpose", &[&[MAPS]]),
    ("values", &[&[MAPS]]),
    ("zipmap", &[&[LISTS, LISTS]]),
    ("base64decode", &[&[BASE64]]),
    ("base64encode", &[&[TEXTS]]),
    ("jsondecode", &[&[JSON]]),
    ("jsonencode", &[&[ANY], &[LISTS], &[MAPS], &[NUMBERS]]),
    ("urlencode", &[&[URLS], &[TEXTS]]),
    ("csvdecode", &[&[CSV]]),
    ("yamldecode", &[&[YAML], &[JSON]]),
    ("yamlencode", &[&[ANY], &[LISTS], &[MAPS], &[TEXTS], &[NUMBERS]]),
    ("sha256", &[&[TEXTS]]),
    ("md5", &[&[TEXTS]]),
    ("can", &[&[ANY], &[&["1 / 0", "[][0]", "{}.a", "tonumber(\"x\")", "upper(\"a\")", "null.a"]]]),
    ("try", &[&[&["1 / 0", "[][0]", "{}.a", "tonumber(\"x\")", "5", "null"], ANY], &[ANY]]),
    ("tobool", &[&[ANY], &[NUMBERS], &[TEXTS]]),
    ("tolist", &[&[ANY], &[LISTS], &[MAPS]]),
    ("tomap", &[&[ANY], &[MAPS], &[LISTS]]),
    ("tonumber", &[&[ANY], &[NUMBERS], &[TEXTS], &[INTS]]),
    ("toset", &[&[ANY], &[LISTS], &[MAPS]]),
    ("tostring", &[&[ANY], &[NUMBERS], &[TEXTS]]),
    ("timeadd", &[&[TIMES, DURATIONS]]),
    ("timecmp", &[&[TIMES, TIMES]]),
    ("formatdate", &[&[DATES, TIMES]]),
    ("file", &[&[PATHS]]),
    ("fileexists", &[&[PATHS]]),
    ("templatefile", &[&[PATHS, TEMPLATE_VARS]]),
];

/// What no combination comes to.
const EXTRA: Pool = &[
    r#"length("e\u0301")"#, r#""e\u0301" == "é""#, r#"sha256("e\u0301")"#, r#"strrev("ae\u0301x")"#, r#"substr("e\u0301x", 1, 1)"#,
    "length(range(1000))", "length(range(2000))", "tolist([1]) == [1]", r#"{ a = "x" } == tomap({ a = "x" })"#,
    "<<EOT\na\n  b\nEOT\n", "<<-EOT\n    a\n      b\n    c\n  EOT\n", "<<EOT\n${1 + 1}%{ if true }x%{ endif }\nEOT\n",
    r#"format("%[2]s %[1]s", "a", "b")"#, r#"format("%[2]5s|%-5[1]s|", "a", "b")"#, r#"format("%5[2]s|%-5[1]s|", "a", "b")"#, r#"format("%5.2[1]f|", 3)"#, r#"format("%[0]s", "a")"#,
    r#"yamlencode({ k = ["a very long text of many words that goes on and on, well beyond the eighty columns at which some writers  of YAML begin to fold, and on", { l = "é a very long text of many words that goes on and on, well beyond the eighty columns  at which" }] })"#, r#"format("%[3]s", "a")"#, r#"format("%s %s", "a")"#, r#"format("%-05d|", 7)"#, r#"format("%.3d|%8.3d|", 7, 7)"#,
    r#"format("%+.3e|% .2E|%#g", 12345.678, 0.00012, 1)"#, r#"format("%5t|%v", true, null)"#, r#"format("%.0f %.0f %.0f", 0.5, 1.5, 2.5)"#, r#"format("%g %g %g", 100000, 1000000, 0.00001234)"#, r#"format("%6.3q|", "日本語です")"#,
    r#"formatlist("%s-%s-%s", ["a", "b"], "x", tolist(["1", "2"]))"#, r#"formatlist("%s", [])"#, r#"formatlist("x")"#,
    r#"replace("aaa", "/(a)/", "[$1]")"#, r#"replace("2026-01-31", "/(\\d+)-(\\d+)-(\\d+)/", "$3.$2.$1")"#, r#"regex("(?P<a>x)|(?P<b>y)", "y")"#, r#"regex("(\\d+)(?:\\.(\\d+))?", "v12")"#,
    r#"yamlencode({ text = "a\nb\n", list = [["x\ny"], {}], empty = [], "multi\nkey" = "v" })"#, r#"yamlencode("trailing \n")"#, r#"yamlencode("  lead\nx")"#, r#"yamlencode("\n")"#, r#"yamlencode("a\n\n")"#, r#"yamlencode(["a\n\n", "b"])"#,
    r#"yamlencode("a very long text of many words that goes on and on, well beyond the eighty columns at which some writers of YAML begin to fold")"#, r#"yamlencode({ a = { b = { c = ["x", { d = "y" }] } } })"#, r#"yamlencode([[[1, 2], [3]], { a = [{ b = 1, c = [] }] }])"#,
    r#"yamldecode("a: [1, 2\n")"#, r#"yamldecode("- a\n-b\n")"#, r#"yamldecode("a: 'it''s'\nb: \"x\\ty\"\n")"#, r#"yamldecode("2001-12-14t21:59:43.10-05:00")"#, r#"yamldecode("2001-12-14 21:59:43")"#, r#"yamldecode("2026-1-5")"#, r#"yamldecode("a: *a")"#, r#"yamldecode("&a a: *a")"#,
    r#"csvdecode("a,b\n\"x\"\"y\",\"\"\n")[0].a"#, r#"jsondecode("[0.1, 12345678901234567890.5, 1e-5]")"#, r#"jsonencode({ b = [1.50, null], a = "\u2028\u0008\u000c\u001f\u007f" })"#,
    r#"merge({ a = 1 }, { a = "x", b = [1] }, null)"#, r#"lookup({ a = null }, "a", 1)"#, r#"flatten([[1, [2]], toset([3]), [[[4]]]])"#, r#"distinct([[1], [1], ["1"]])"#, r#"sort(["b", "B", "a", "é", "10", "9"])"#, r#"sum([0.1, 0.2, "0.3"])"#,
    "setproduct([], [1])", r#"setproduct(["a"], ["b"], [1, 2])"#, r#"zipmap(["a", "a"], [1, 2])"#, r#"one(toset(["x"]))"#, "slice([1, 2, 3], 1, 3)", "chunklist([1, 2, 3], 2)", "{ for i, v in [\"a\", \"b\"] : v => i }", "[for k, v in { b = 1, a = 2 } : \"${k}=${v}\"]",
    "{ for v in [\"a\", \"b\", \"a\"] : v => v... }", "{ for v in [\"a\", \"a\"] : v => v }", "[for v in [1, 2, 3] : v if v != 2]", "[{ a = { b = 1 } }, { a = { b = 2 } }][*].a.b", "[[1, 2], [3]][*][0]", "null[*]", "5[*]", "{ a = 1 }[*].a", "[1, 2][1.0]", "[1][0.5]",
    "{ (1 + 1) = \"x\" }", "{ \"a${1}\" = 2 }.a1", "-5 % 3", "5 % -3", "5.5 % 2", "2 + 3 * 4 - 6 / 4", "(2 + 3) * 4", "!true == false", "1 < 2 == true", "\"a\" == \"a\" ? \"y\" : \"n\"", r#""%{ if true }say \"hi\"\n\\x%{ endif }""#, r#""%{ if true }a%{ for i in [1, 2] ~}\n  ${i}\t%{ endfor }%{ endif }""#, r#""%{ if true ~}  \n a%{ endif }""#, r#""a%{ if false }b%{ else ~} \n\tc\u00e9 %{~ endif }d""#, r#""%{ for i, v in ["a", "b"] ~}\n  ${i}=${v}\n%{ endfor ~}""#,
    "timeadd(\"2026-12-31T23:59:59Z\", \"1s\")", "formatdate(\"DD.MM.YYYY 'um' hh:mm\", \"2026-07-04T05:06:07+02:00\")", "tolist(toset([10, 9, 1]))", "tolist(toset([\"10\", \"9\", \"1\"]))", "toset([true, false])", "9223372036854775807 + 1", "170141183460469231731687303715884105727",
    "0.1 + 0.2 == 0.3", "1 / 3 * 3 == 1", "10 / 4", "1e10", "1.0", "-(-3)", "1 - -1", "abs(-0)", "\"${1.0}\"", "\"${1e3}\"", "\"${true}\"", "\"a\\tb\\u00e9\\U0001F600\"", "\"$${x} %%{y} $x %y\"",
];

/// The names of all functions that are compared.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// All expressions, each with the function that it is about.
pub(super) fn calls() -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (name, rows) in FUNCTIONS {
        for pools in *rows {
            found.extend(combined(pools).into_iter().map(|arguments| (*name, format!("{name}({})", arguments.join(", ")))));
        }
    }
    found
}

/// Operators, paths, splats, templates and `for` over the same values.
pub(super) fn forms() -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for operator in ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||"] {
        found.extend(combined(&[NUMBERS, NUMBERS]).into_iter().map(|a| format!("({}) {operator} ({})", a[0], a[1])));
    }
    for operator in ["==", "!=", "&&", "||"] {
        found.extend(combined(&[ANY, ANY]).into_iter().map(|a| format!("({}) {operator} ({})", a[0], a[1])));
    }
    found.extend(ANY.iter().chain(NUMBERS).flat_map(|a| [format!("!({a})"), format!("-({a})"), format!("({a}) ? 1 : 2")]));
    found.extend(combined(&[LISTS, ANY]).into_iter().map(|a| format!("({})[{}]", a[0], a[1])));
    found.extend(combined(&[MAPS, KEYS]).into_iter().map(|a| format!("({})[{}]", a[0], a[1])));
    for text in ["({})[*]", "({}).*.a", "({})[*].a", "({})[*][0]", "({}).a", "({}).0", "\"x${{}}y\"", "\"${{}}\"", "[for v in {} : v]",
        "[for k, v in {} : k]", "{ for k, v in {} : k => v }", "{ for v in {} : v => v... }", "[for v in {} : v if v == 1]", "[for i, v in {} : [i, v] if i != \"b\"]",
        "\"%{ for v in {} }<${v}>%{ endfor }\"", "\"%{ if {} }a%{ else }b%{ endif }\"", "\"a %{~ for v in {} ~} ${v} %{~ endfor ~} z\"",
        "max({}...)", "concat({}...)", "length(({})[*])"]
    {
        found.extend(LISTS.iter().chain(MAPS).chain(ANY).map(|value| text.replace("{}", value.trim_end())));
    }
    found.extend(combined(&[ANY, ANY]).into_iter().map(|a| format!("true ? {} : {}", a[0], a[1])));
    found.extend(EXTRA.iter().map(|text| (*text).to_owned()));
    found.into_iter().map(|text| ("(forms)", text)).collect()
}

/// Combinations of one element of each pool; when there are too many, a part of them that is spread evenly.
fn combined(pools: &[Pool]) -> Vec<Vec<&'static str>> {
    /// Has no factor in common with any product of pool sizes.
    const STEP: usize = 1_000_003;
    let total: usize = pools.iter().map(|p| p.len()).product();
    (0..total.min(MOST))
        .map(|i| {
            let mut at = i * STEP % total;
            pools
                .iter()
                .map(|pool| {
                    let value = pool[at % pool.len()];
                    at /= pool.len();
                    value
                })
                .collect()
        })
        .collect()
}
