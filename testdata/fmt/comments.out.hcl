# At the margin afterwards.
// slashes
/* A long
     comment keeps   what is in it. */
a  = 1 # x
bb = 2 // y
# between
ccc = 3 # z

d = /* before */ 1 /* after */ # end
e = [                          # opens
  1, /* one */                 # first
  22,                          # second
  # alone
]                    # closes
block /* before */ { # opens
  x         = 1      # aligned with the line above
  long_name = 2      #no blank
  /* inside */

} # closes
