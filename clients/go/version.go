package semel

// Version is that of this library, and of the server released with it.
const Version = "0.1.0"
