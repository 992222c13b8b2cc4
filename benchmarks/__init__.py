"""The reference networks that compress is measured on, and the scripts that train and measure them."""
