"""Examples of what is built on GlobalTable, each with a demo that checks itself."""
