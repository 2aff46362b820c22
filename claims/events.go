package claims

// LiveEvents is what the system events of the servers tell: who is connected, who was refused, what
// happened.
type LiveEvents interface{}
