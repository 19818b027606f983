"""The demonstration: a small sparse network whose hidden layer runs on a device."""
