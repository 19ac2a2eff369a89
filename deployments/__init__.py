"""What puts the flows on a server, and on a laptop."""
