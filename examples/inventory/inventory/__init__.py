"""Stock of a shop: what there is, what is reserved, what it is worth."""

from inventory.stock import OutOfStock, Stock

__all__ = ["OutOfStock", "Stock"]
