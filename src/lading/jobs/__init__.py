"""Later: what happened and who hears of it, work in a queue, and when. Mechanism only; the work lives with its noun."""
