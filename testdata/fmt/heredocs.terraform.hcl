a   = <<EOT
  kept   as it is
	 "quotes [ { #
EOT
bbb = <<-EOT
    indented
      %{if x}
   y
      %{endif}
    EOT
c = f(<<X
 a = 1
X
, 2)
d = 1
