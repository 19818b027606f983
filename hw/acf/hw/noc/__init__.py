"""The mesh network: routing function, routers, their way in and out, and the packets they carry."""
