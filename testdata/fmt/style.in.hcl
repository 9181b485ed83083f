# What most configurations hold.
tranship{
environment="staging"
      required_version   =   ">= 0.1"
}


storage "default"{
address = "tcp://gitaly-01.internal:8075" # as GitLab dials it
    drain=true# weight 0
	metrics={instance="gitaly-01:9236",zone = "a"}   // labels

  limits { max_moves=8 }
  }

storage   "gitaly"   {
  for_each=toset( [ "a","b" ] )
  name = "gitaly-${ each.key }"

weight=100
  dial = null
}
gate "approval" {}
gate "none" { }
gate "errors" {
query="sum(rate(x{${ target.selector },grpc_code!~\"OK\"}[5m]))"
max=-0.5
}

locals{
  list=[
1,2,
      3 # three
      ,
    [ 4,
    5 ],
]
  object = {
    a=1
    long_name : 2 # two
        "quoted key"=3   # three
    (var.computed) = {
        inner=[{
            x=1
        },{
            x=2
        }]
    }
  }
  call = merge( {a=1},{
    b = 2
  } )
  numbers = 1+2*-3/( 4-5 )%6
  logic=!a&&b||c==d?e:f
  path = a . b [ 0 ] . c[*] . d.0
  loops = [ for k,v in {a=1}:upper( k ) if v>0 ]
  maps={for s in x:s=>s... }
  spread = max( [ 1,2 ]... )
  wide = "日本" # two columns, one character each
  narrow="ab" # the same
}
assignment "rest" {
  from=[ storage.default ]
  where=(
  repository.size>20*GiB
      ||startswith( repository.path,"a/" )
  )
  to = values( storage.gitaly )
}
