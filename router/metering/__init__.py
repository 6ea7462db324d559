"""What the answers to issued keys have used, and what that costs.

Read `metered.py` first: it is what an exchange holds. `reading` finds the use in an answer (pure),
`prices` says what it costs, `uses` is what a worker owes control an account of.
"""
