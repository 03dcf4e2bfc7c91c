"""What runs in production: the gateway, the model server, and the HTTP/1.1 module they share."""
