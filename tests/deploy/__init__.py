"""What is handed out for running nodes elsewhere: a unit, an image, a manifest."""
