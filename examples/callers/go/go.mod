module vestibule.dev/examples/signin

go 1.25
