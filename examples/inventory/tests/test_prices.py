import unittest

from inventory import Stock
from inventory.prices import discount, total_value


class PricesTest(unittest.TestCase):
    def test_total_value(self):
        stock = Stock()
        stock.receive("lamp", 2)
        stock.receive("cable", 5)
        self.assertEqual(total_value(stock, {"lamp": 10}), 20)

    def test_discount(self):
        self.assertEqual(discount(80, 25), 60)

    def test_discount_is_a_percentage(self):
        with self.assertRaises(ValueError):
            discount(80, 120)
