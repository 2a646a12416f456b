"""What routing asks of GlobalTable, through its public client."""
