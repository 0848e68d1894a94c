"""The treasurer: an agent that pays invoices."""
