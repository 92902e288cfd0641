module go-keygen

go 1.24
