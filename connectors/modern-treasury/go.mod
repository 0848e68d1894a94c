module tape.dev/connectors/modern-treasury

go 1.25.0

require tape.dev/guest v0.0.0

replace tape.dev/guest => ../guest-go
