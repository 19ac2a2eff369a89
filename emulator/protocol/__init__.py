"""What all of Azure's services share on the wire."""
