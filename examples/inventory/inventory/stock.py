"""Counting items and reserving them."""


class OutOfStock(Exception):
    """More was asked for than there is."""


class Stock:
    """How many of each item there are, and how many of those are promised to somebody."""

    def __init__(self):
        self.on_hand = {}
        self.reserved = {}

    def receive(self, item, quantity):
        """Add a delivery."""
        if quantity <= 0:
            raise ValueError("a delivery has at least one item")
        self.on_hand[item] = self.on_hand.get(item, 0) + quantity

    def available(self, item):
        """How many can still be promised."""
        return self.on_hand.get(item, 0) - self.reserved.get(item, 0)

    def reserve(self, item, quantity):
        """Promise some to a customer."""
        if quantity > self.on_hand.get(item, 0):
            raise OutOfStock(f"only {self.available(item)} of {item} left")
        self.reserved[item] = self.reserved.get(item, 0) + quantity

    def ship(self, item, quantity):
        """Hand over what was promised."""
        if quantity > self.reserved.get(item, 0):
            raise OutOfStock(f"only {self.reserved.get(item, 0)} of {item} reserved")
        self.reserved[item] -= quantity
        self.on_hand[item] -= quantity
