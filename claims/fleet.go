package claims

// LiveFleet is the picture of all servers and all deliveries of an operator at once.
type LiveFleet interface{}
