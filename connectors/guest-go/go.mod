module tape.dev/guest

go 1.25.0

