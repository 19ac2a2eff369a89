"""What keeps any run honest: its owner, its cleanup, its cancellation, its events."""
