"""Later: what happened, who hears of it, and who does the work. Mechanism only; the work itself lives with its noun."""
