Hello
${templatefile("outer.tpl", {})}
