// Package nsc reads and writes the files of nsc, the command-line tool that most
// operators were made with: a store of JWTs for each operator, and one directory of
// keys and creds for all of them.
//
// It owns the layout on disk: what is read is checked against the chain of trust and
// against the names of its files, and what is written is the layout that nsc itself
// reads. A JWT is kept as the bytes it had, never encoded again.
//
// It refuses to reach a file system by itself: reading is given an fs.FS, writing
// returns files. It follows no symbolic link, reads no file beyond a bound, keeps
// seeds in claims.Secret only, and writes no name that would leave its directory.
// What is wrong with one file is reported and never stops the reading of the rest.
//
// Called by cmd/chancery, for the commands that work on a store without a server.
package nsc
