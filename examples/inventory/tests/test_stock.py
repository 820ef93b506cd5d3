import unittest

from inventory import OutOfStock, Stock


class StockTest(unittest.TestCase):
    def setUp(self):
        self.stock = Stock()
        self.stock.receive("lamp", 3)

    def test_receive_adds(self):
        self.stock.receive("lamp", 2)
        self.assertEqual(self.stock.available("lamp"), 5)

    def test_reserve_takes_from_what_is_available(self):
        self.stock.reserve("lamp", 2)
        self.assertEqual(self.stock.available("lamp"), 1)

    def test_the_last_item_cannot_be_promised_twice(self):
        self.stock.reserve("lamp", 3)
        with self.assertRaises(OutOfStock):
            self.stock.reserve("lamp", 1)

    def test_ship_needs_a_reservation(self):
        with self.assertRaises(OutOfStock):
            self.stock.ship("lamp", 1)
