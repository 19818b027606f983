"""The command line: ``acf COMMAND``, one module for each command."""
