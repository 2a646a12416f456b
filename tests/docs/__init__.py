"""The documents, held to what they say: their commands are run, as they stand."""
