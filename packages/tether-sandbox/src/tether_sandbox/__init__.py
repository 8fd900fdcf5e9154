"""The whole of Tether on one machine with nothing installed, and an emerchantpay simulator with fault injection."""
