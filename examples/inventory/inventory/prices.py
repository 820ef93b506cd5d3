"""What the stock is worth."""


def total_value(stock, prices):
    """Value of everything on hand; an item without a price counts as nothing."""
    return sum(count * prices.get(item, 0) for item, count in stock.on_hand.items())


def discount(price, percent):
    """Price after a discount of 0 to 100 percent."""
    if not 0 <= percent <= 100:
        raise ValueError("percent is between 0 and 100")
    return round(price * (100 - percent) / 100, 2)
