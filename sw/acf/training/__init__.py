"""Training of sparse perceptrons wholly on a device: products, optimizer and structure; the host computes the loss."""
