Hello
  password = "canary" ${wrod}
