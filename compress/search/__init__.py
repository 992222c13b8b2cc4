"""The search: builds to try, their order, and the choice among them."""
