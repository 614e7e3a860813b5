"""{{name}}: looks up the weather. Class `read`: it changes nothing, whatever it is asked.

Change the address, the input and the output to what your API has. The host lets it send GET, HEAD
and OPTIONS alone, and only to origins that were granted when it was added.
"""

from dataclasses import dataclass

import niquests
from stoplog import ToolError, audit, read

FORECAST = "https://api.open-meteo.com/v1/forecast"

# Places that it knows: latitude, longitude.
PLACES = {
    "berlin": (52.52, 13.41),
    "lagos": (6.45, 3.39),
    "mumbai": (19.08, 72.88),
    "sao_paulo": (-23.55, -46.63),
    "tokyo": (35.68, 139.69),
}


@dataclass
class Question:
    place: str | None = audit(
        "One of the places that the answer lists. Leave it out to see the list.", default=None
    )


@dataclass
class Answer:
    places: list[str] = audit("Places that can be asked for.")
    temperature_c: float | None = audit("Degrees Celsius; only if a place was named.", default=None)
    wind_kmh: float | None = audit("Kilometres an hour; only if a place was named.", default=None)


@read(timeout_ms=10_000, egress=[FORECAST])
def {{name}}(question: Question) -> Answer:
    """Says the weather at a place now. Without a place, it lists the places that it knows."""
    places = list(PLACES)
    if question.place is None:
        return Answer(places)
    if question.place not in PLACES:
        raise ToolError(
            "not-found",
            f"`{question.place}` is not a known place",
            hint=f"use one of {', '.join(places)}",
        )
    latitude, longitude = PLACES[question.place]
    query = {
        "latitude": latitude,
        "longitude": longitude,
        "current": "temperature_2m,wind_speed_10m",
    }
    # A bad status becomes an error that the model can act on.
    current = niquests.get(FORECAST, params=query).raise_for_status().json()["current"]
    return Answer(places, current["temperature_2m"], current["wind_speed_10m"])
