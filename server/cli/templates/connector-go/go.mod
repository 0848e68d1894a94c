module {{name}}

go 1.25.0

require tape.dev/guest v0.0.0

replace tape.dev/guest => ./tape/guest
