"""What a program needs to get onto a device: operands, memory, compiler, and the devices themselves."""
