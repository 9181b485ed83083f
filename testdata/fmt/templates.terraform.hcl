a = x
b = "${x}${y + 1}"
c = "x ${~y~} %{if a~} z %{else} w %{endif}"
d = "${ { x = 1 }.x}-"
e = "$${ kept } %%{ kept }  \"  "
