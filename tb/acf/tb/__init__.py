"""cocotb benches of every block, with the runner, drivers and monitors they share."""
