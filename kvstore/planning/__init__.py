"""From an order of jobs and a ledger of pages to one iteration."""
