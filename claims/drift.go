package claims

// LiveDrift is what servers hold that Chancery did not give them.
type LiveDrift interface{}
