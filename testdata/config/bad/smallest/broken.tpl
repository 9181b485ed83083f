Hello
%{ if true }${word}
