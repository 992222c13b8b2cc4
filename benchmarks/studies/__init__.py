"""Studies of the builds that compress makes: their speed, accuracy and cost, and those of rivals."""
