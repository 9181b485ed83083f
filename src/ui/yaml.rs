//! Values as YAML, for files that others read.

use serde_json::Value;

/// Documents as YAML, with `---` between them.
pub fn yaml(documents: &[Value]) -> String {
    // Long texts stay as they are: folding them would change what a script or a template says.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    match serde_saphyr::to_string_multiple_with_options(documents, options) {
        Ok(text) => text,
        // JSON values have nothing that YAML lacks: this cannot happen, and is told rather than panicked about.
        Err(error) => format!("# cannot be written: {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_looks_like_another_type_is_quoted_and_texts_stay_whole() {
        let long = format!("{} end", "word ".repeat(40).trim_end());
        let text = yaml(&[
            json!({ "a": "true", "b": "1e3", "c": "0440", "d": "no", "e": "null", "f": 5, "g": "x: y", "h": "{% f %}", "i": [], "j": {} }),
            json!({ "k": "one\n  two\n", "l": long, "m": "" }),
        ]);
        for line in [
            "a: \"true\"",
            "b: \"1e3\"",
            "c: \"0440\"",
            "d: \"no\"",
            "e: \"null\"",
            "f: 5",
            "i: []",
            "j: {}",
            "---",
            "k: |",
            "m: \"\"",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains(&long), "{text}");
    }
}
