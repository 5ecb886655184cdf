"""Where the countries are, for callers who say no more than a code.

Each stands for itself by its most populous place, as far as the tz database's ``zone.tab`` (which
is in the public domain) has it: by the zone of the most people where it has several, and all
Russians are taken for Muscovites. Whoever knows coordinates gives those instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from placet_engine.placement.geography import GeoPoint


class CountryUnknown(ValueError):
    """A code that is no country's."""


def place_of(country: str) -> GeoPoint:
    """Return where a country's callers are taken to be.

    Args:
        country: its ISO 3166-1 code of two letters, in either case.

    Raises:
        CountryUnknown: it is none.
    """
    place = COUNTRIES.get(country.upper())
    if place is None:
        meant = _OFTEN_MEANT.get(country.upper())
        hint = f"; did you mean `{meant}`?" if meant else ", such as `IE`"
        raise CountryUnknown(
            f"`{country[:20]}` is no country; use a code of two letters by ISO 3166-1{hint}"
        )
    return place


# Codes that others than ISO 3166-1 use for the countries.
_OFTEN_MEANT: Mapping[str, str] = {"UK": "GB", "EL": "GR"}

# To a hundredth of a degree. Bouvet and the McDonald Islands, where nobody lives, are not in
# zone.tab.
_PLACES: Mapping[str, tuple[float, float]] = {
    "AD": (42.5, 1.52),  # Andorra
    "AE": (25.3, 55.3),  # United Arab Emirates, Dubai
    "AF": (34.52, 69.2),  # Afghanistan, Kabul
    "AG": (17.05, -61.8),  # Antigua & Barbuda, Antigua
    "AI": (18.2, -63.07),  # Anguilla
    "AL": (41.33, 19.83),  # Albania, Tirane
    "AM": (40.18, 44.5),  # Armenia, Yerevan
    "AO": (-8.8, 13.23),  # Angola, Luanda
    "AQ": (-77.83, 166.6),  # Antarctica, McMurdo
    "AR": (-34.6, -58.45),  # Argentina, Buenos Aires
    "AS": (-14.27, -170.7),  # Samoa (American), Pago Pago
    "AT": (48.22, 16.33),  # Austria, Vienna
    "AU": (-33.87, 151.22),  # Australia, Sydney
    "AW": (12.5, -69.97),  # Aruba
    "AX": (60.1, 19.95),  # Åland Islands, Mariehamn
    "AZ": (40.38, 49.85),  # Azerbaijan, Baku
    "BA": (43.87, 18.42),  # Bosnia & Herzegovina, Sarajevo
    "BB": (13.1, -59.62),  # Barbados
    "BD": (23.72, 90.42),  # Bangladesh, Dhaka
    "BE": (50.83, 4.33),  # Belgium, Brussels
    "BF": (12.37, -1.52),  # Burkina Faso, Ouagadougou
    "BG": (42.68, 23.32),  # Bulgaria, Sofia
    "BH": (26.38, 50.58),  # Bahrain
    "BI": (-3.38, 29.37),  # Burundi, Bujumbura
    "BJ": (6.48, 2.62),  # Benin, Porto-Novo
    "BL": (17.88, -62.85),  # St Barthelemy
    "BM": (32.28, -64.77),  # Bermuda
    "BN": (4.93, 114.92),  # Brunei
    "BO": (-16.5, -68.15),  # Bolivia, La Paz
    "BQ": (12.15, -68.28),  # Caribbean NL, Kralendijk
    "BR": (-23.53, -46.62),  # Brazil, Sao Paulo
    "BS": (25.08, -77.35),  # Bahamas, Nassau
    "BT": (27.47, 89.65),  # Bhutan, Thimphu
    "BV": (-54.42, 3.36),  # Bouvet Island
    "BW": (-24.65, 25.92),  # Botswana, Gaborone
    "BY": (53.9, 27.57),  # Belarus, Minsk
    "BZ": (17.5, -88.2),  # Belize
    "CA": (43.65, -79.38),  # Canada, Toronto
    "CC": (-12.17, 96.92),  # Cocos (Keeling) Islands, Cocos
    "CD": (-4.3, 15.3),  # Congo (Dem. Rep.), Kinshasa
    "CF": (4.37, 18.58),  # Central African Rep., Bangui
    "CG": (-4.27, 15.28),  # Congo (Rep.), Brazzaville
    "CH": (47.38, 8.53),  # Switzerland, Zurich
    "CI": (5.32, -4.03),  # Côte d'Ivoire, Abidjan
    "CK": (-21.23, -159.77),  # Cook Islands, Rarotonga
    "CL": (-33.45, -70.67),  # Chile, Santiago
    "CM": (4.05, 9.7),  # Cameroon, Douala
    "CN": (31.23, 121.47),  # China, Shanghai
    "CO": (4.6, -74.08),  # Colombia, Bogota
    "CR": (9.93, -84.08),  # Costa Rica
    "CU": (23.13, -82.37),  # Cuba, Havana
    "CV": (14.92, -23.52),  # Cape Verde
    "CW": (12.18, -69.0),  # Curaçao, Curacao
    "CX": (-10.42, 105.72),  # Christmas Island, Christmas
    "CY": (35.17, 33.37),  # Cyprus, Nicosia
    "CZ": (50.08, 14.43),  # Czech Republic, Prague
    "DE": (52.5, 13.37),  # Germany, Berlin
    "DJ": (11.6, 43.15),  # Djibouti
    "DK": (55.67, 12.58),  # Denmark, Copenhagen
    "DM": (15.3, -61.4),  # Dominica
    "DO": (18.47, -69.9),  # Dominican Republic, Santo Domingo
    "DZ": (36.78, 3.05),  # Algeria, Algiers
    "EC": (-2.17, -79.83),  # Ecuador, Guayaquil
    "EE": (59.42, 24.75),  # Estonia, Tallinn
    "EG": (30.05, 31.25),  # Egypt, Cairo
    "EH": (27.15, -13.2),  # Western Sahara, El Aaiun
    "ER": (15.33, 38.88),  # Eritrea, Asmara
    "ES": (40.4, -3.68),  # Spain, Madrid
    "ET": (9.03, 38.7),  # Ethiopia, Addis Ababa
    "FI": (60.17, 24.97),  # Finland, Helsinki
    "FJ": (-18.13, 178.42),  # Fiji
    "FK": (-51.7, -57.85),  # Falkland Islands, Stanley
    "FM": (6.97, 158.22),  # Micronesia, Pohnpei
    "FO": (62.02, -6.77),  # Faroe Islands, Faroe
    "FR": (48.87, 2.33),  # France, Paris
    "GA": (0.38, 9.45),  # Gabon, Libreville
    "GB": (51.51, -0.13),  # Britain (UK), London
    "GD": (12.05, -61.75),  # Grenada
    "GE": (41.72, 44.82),  # Georgia, Tbilisi
    "GF": (4.93, -52.33),  # French Guiana, Cayenne
    "GG": (49.45, -2.54),  # Guernsey
    "GH": (5.55, -0.22),  # Ghana, Accra
    "GI": (36.13, -5.35),  # Gibraltar
    "GL": (64.18, -51.73),  # Greenland, Nuuk
    "GM": (13.47, -16.65),  # Gambia, Banjul
    "GN": (9.52, -13.72),  # Guinea, Conakry
    "GP": (16.23, -61.53),  # Guadeloupe
    "GQ": (3.75, 8.78),  # Equatorial Guinea, Malabo
    "GR": (37.97, 23.72),  # Greece, Athens
    "GS": (-54.27, -36.53),  # South Georgia & the South Sandwich Islands, South Georgia
    "GT": (14.63, -90.52),  # Guatemala
    "GU": (13.47, 144.75),  # Guam
    "GW": (11.85, -15.58),  # Guinea-Bissau, Bissau
    "GY": (6.8, -58.17),  # Guyana
    "HK": (22.28, 114.15),  # Hong Kong
    "HM": (-53.1, 73.51),  # Heard Island & McDonald Islands, Heard Island
    "HN": (14.1, -87.22),  # Honduras, Tegucigalpa
    "HR": (45.8, 15.97),  # Croatia, Zagreb
    "HT": (18.53, -72.33),  # Haiti, Port-au-Prince
    "HU": (47.5, 19.08),  # Hungary, Budapest
    "ID": (-6.17, 106.8),  # Indonesia, Jakarta
    "IE": (53.33, -6.25),  # Ireland, Dublin
    "IL": (31.78, 35.22),  # Israel, Jerusalem
    "IM": (54.15, -4.47),  # Isle of Man
    "IN": (22.53, 88.37),  # India, Kolkata
    "IO": (-7.33, 72.42),  # British Indian Ocean Territory, Chagos
    "IQ": (33.35, 44.42),  # Iraq, Baghdad
    "IR": (35.67, 51.43),  # Iran, Tehran
    "IS": (64.15, -21.85),  # Iceland, Reykjavik
    "IT": (41.9, 12.48),  # Italy, Rome
    "JE": (49.18, -2.11),  # Jersey
    "JM": (17.97, -76.79),  # Jamaica
    "JO": (31.95, 35.93),  # Jordan, Amman
    "JP": (35.65, 139.74),  # Japan, Tokyo
    "KE": (-1.28, 36.82),  # Kenya, Nairobi
    "KG": (42.9, 74.6),  # Kyrgyzstan, Bishkek
    "KH": (11.55, 104.92),  # Cambodia, Phnom Penh
    "KI": (1.42, 173.0),  # Kiribati, Tarawa
    "KM": (-11.68, 43.27),  # Comoros, Comoro
    "KN": (17.3, -62.72),  # St Kitts & Nevis, St Kitts
    "KP": (39.02, 125.75),  # Korea (North), Pyongyang
    "KR": (37.55, 126.97),  # Korea (South), Seoul
    "KW": (29.33, 47.98),  # Kuwait
    "KY": (19.3, -81.38),  # Cayman Islands, Cayman
    "KZ": (43.25, 76.95),  # Kazakhstan, Almaty
    "LA": (17.97, 102.6),  # Laos, Vientiane
    "LB": (33.88, 35.5),  # Lebanon, Beirut
    "LC": (14.02, -61.0),  # St Lucia
    "LI": (47.15, 9.52),  # Liechtenstein, Vaduz
    "LK": (6.93, 79.85),  # Sri Lanka, Colombo
    "LR": (6.3, -10.78),  # Liberia, Monrovia
    "LS": (-29.47, 27.5),  # Lesotho, Maseru
    "LT": (54.68, 25.32),  # Lithuania, Vilnius
    "LU": (49.6, 6.15),  # Luxembourg
    "LV": (56.95, 24.1),  # Latvia, Riga
    "LY": (32.9, 13.18),  # Libya, Tripoli
    "MA": (33.65, -7.58),  # Morocco, Casablanca
    "MC": (43.7, 7.38),  # Monaco
    "MD": (47.0, 28.83),  # Moldova, Chisinau
    "ME": (42.43, 19.27),  # Montenegro, Podgorica
    "MF": (18.07, -63.08),  # St Martin (French), Marigot
    "MG": (-18.92, 47.52),  # Madagascar, Antananarivo
    "MH": (7.15, 171.2),  # Marshall Islands, Majuro
    "MK": (41.98, 21.43),  # North Macedonia, Skopje
    "ML": (12.65, -8.0),  # Mali, Bamako
    "MM": (16.78, 96.17),  # Myanmar (Burma), Yangon
    "MN": (47.92, 106.88),  # Mongolia, Ulaanbaatar
    "MO": (22.2, 113.54),  # Macau
    "MP": (15.2, 145.75),  # Northern Mariana Islands, Saipan
    "MQ": (14.6, -61.08),  # Martinique
    "MR": (18.1, -15.95),  # Mauritania, Nouakchott
    "MS": (16.72, -62.22),  # Montserrat
    "MT": (35.9, 14.52),  # Malta
    "MU": (-20.17, 57.5),  # Mauritius
    "MV": (4.17, 73.5),  # Maldives
    "MW": (-15.78, 35.0),  # Malawi, Blantyre
    "MX": (19.4, -99.15),  # Mexico, Mexico City
    "MY": (3.17, 101.7),  # Malaysia, Kuala Lumpur
    "MZ": (-25.97, 32.58),  # Mozambique, Maputo
    "NA": (-22.57, 17.1),  # Namibia, Windhoek
    "NC": (-22.27, 166.45),  # New Caledonia, Noumea
    "NE": (13.52, 2.12),  # Niger, Niamey
    "NF": (-29.05, 167.97),  # Norfolk Island, Norfolk
    "NG": (6.45, 3.4),  # Nigeria, Lagos
    "NI": (12.15, -86.28),  # Nicaragua, Managua
    "NL": (52.37, 4.9),  # Netherlands, Amsterdam
    "NO": (59.92, 10.75),  # Norway, Oslo
    "NP": (27.72, 85.32),  # Nepal, Kathmandu
    "NR": (-0.52, 166.92),  # Nauru
    "NU": (-19.02, -169.92),  # Niue
    "NZ": (-36.87, 174.77),  # New Zealand, Auckland
    "OM": (23.6, 58.58),  # Oman, Muscat
    "PA": (8.97, -79.53),  # Panama
    "PE": (-12.05, -77.05),  # Peru, Lima
    "PF": (-17.53, -149.57),  # French Polynesia, Tahiti
    "PG": (-9.5, 147.17),  # Papua New Guinea, Port Moresby
    "PH": (14.59, 120.97),  # Philippines, Manila
    "PK": (24.87, 67.05),  # Pakistan, Karachi
    "PL": (52.25, 21.0),  # Poland, Warsaw
    "PM": (47.05, -56.33),  # St Pierre & Miquelon, Miquelon
    "PN": (-25.07, -130.08),  # Pitcairn
    "PR": (18.47, -66.11),  # Puerto Rico
    "PS": (31.5, 34.47),  # Palestine, Gaza
    "PT": (38.72, -9.13),  # Portugal, Lisbon
    "PW": (7.33, 134.48),  # Palau
    "PY": (-25.27, -57.67),  # Paraguay, Asuncion
    "QA": (25.28, 51.53),  # Qatar
    "RE": (-20.87, 55.47),  # Réunion, Reunion
    "RO": (44.43, 26.1),  # Romania, Bucharest
    "RS": (44.83, 20.5),  # Serbia, Belgrade
    "RU": (55.76, 37.62),  # Russia, Moscow
    "RW": (-1.95, 30.07),  # Rwanda, Kigali
    "SA": (24.63, 46.72),  # Saudi Arabia, Riyadh
    "SB": (-9.53, 160.2),  # Solomon Islands, Guadalcanal
    "SC": (-4.67, 55.47),  # Seychelles, Mahe
    "SD": (15.6, 32.53),  # Sudan, Khartoum
    "SE": (59.33, 18.05),  # Sweden, Stockholm
    "SG": (1.28, 103.85),  # Singapore
    "SH": (-15.92, -5.7),  # St Helena
    "SI": (46.05, 14.52),  # Slovenia, Ljubljana
    "SJ": (78.0, 16.0),  # Svalbard & Jan Mayen, Longyearbyen
    "SK": (48.15, 17.12),  # Slovakia, Bratislava
    "SL": (8.5, -13.25),  # Sierra Leone, Freetown
    "SM": (43.92, 12.47),  # San Marino
    "SN": (14.67, -17.43),  # Senegal, Dakar
    "SO": (2.07, 45.37),  # Somalia, Mogadishu
    "SR": (5.83, -55.17),  # Suriname, Paramaribo
    "SS": (4.85, 31.62),  # South Sudan, Juba
    "ST": (0.33, 6.73),  # Sao Tome & Principe, Sao Tome
    "SV": (13.7, -89.2),  # El Salvador
    "SX": (18.05, -63.05),  # St Maarten (Dutch), Lower Princes
    "SY": (33.5, 36.3),  # Syria, Damascus
    "SZ": (-26.3, 31.1),  # Eswatini (Swaziland), Mbabane
    "TC": (21.47, -71.13),  # Turks & Caicos Is, Grand Turk
    "TD": (12.12, 15.05),  # Chad, Ndjamena
    "TF": (-49.35, 70.22),  # French S. Terr., Kerguelen
    "TG": (6.13, 1.22),  # Togo, Lome
    "TH": (13.75, 100.52),  # Thailand, Bangkok
    "TJ": (38.58, 68.8),  # Tajikistan, Dushanbe
    "TK": (-9.37, -171.23),  # Tokelau, Fakaofo
    "TL": (-8.55, 125.58),  # East Timor, Dili
    "TM": (37.95, 58.38),  # Turkmenistan, Ashgabat
    "TN": (36.8, 10.18),  # Tunisia, Tunis
    "TO": (-21.13, -175.2),  # Tonga, Tongatapu
    "TR": (41.02, 28.97),  # Turkey, Istanbul
    "TT": (10.65, -61.52),  # Trinidad & Tobago, Port of Spain
    "TV": (-8.52, 179.22),  # Tuvalu, Funafuti
    "TW": (25.05, 121.5),  # Taiwan, Taipei
    "TZ": (-6.8, 39.28),  # Tanzania, Dar es Salaam
    "UA": (50.43, 30.52),  # Ukraine, Kyiv
    "UG": (0.32, 32.42),  # Uganda, Kampala
    "UM": (19.28, 166.62),  # US minor outlying islands, Wake
    "US": (40.71, -74.01),  # United States, New York
    "UY": (-34.91, -56.21),  # Uruguay, Montevideo
    "UZ": (41.33, 69.3),  # Uzbekistan, Tashkent
    "VA": (41.9, 12.45),  # Vatican City, Vatican
    "VC": (13.15, -61.23),  # St Vincent
    "VE": (10.5, -66.93),  # Venezuela, Caracas
    "VG": (18.45, -64.62),  # Virgin Islands (UK), Tortola
    "VI": (18.35, -64.93),  # Virgin Islands (US), St Thomas
    "VN": (10.75, 106.67),  # Vietnam, Ho Chi Minh
    "VU": (-17.67, 168.42),  # Vanuatu, Efate
    "WF": (-13.3, -176.17),  # Wallis & Futuna, Wallis
    "WS": (-13.83, -171.73),  # Samoa (western), Apia
    "YE": (12.75, 45.2),  # Yemen, Aden
    "YT": (-12.78, 45.23),  # Mayotte
    "ZA": (-26.25, 28.0),  # South Africa, Johannesburg
    "ZM": (-15.42, 28.28),  # Zambia, Lusaka
    "ZW": (-17.83, 31.05),  # Zimbabwe, Harare
}

COUNTRIES: Mapping[str, GeoPoint] = MappingProxyType(
    {code: GeoPoint(*place) for code, place in _PLACES.items()}
)
"""Every code of ISO 3166-1, and the place that stands for it."""
