// {{name}}: looks up the weather. Class `read`: it changes nothing, whatever it is asked.
//
// Change the address, the input and the output to what your API has. The host lets it send GET,
// HEAD and OPTIONS alone, and only to origins that were granted when it was added.

import { ToolError, audit, read, success } from "./stoplog.js";

const FORECAST = "https://api.open-meteo.com/v1/forecast";

// Places that it knows: latitude, longitude.
const PLACES = {
  berlin: [52.52, 13.41],
  lagos: [6.45, 3.39],
  mumbai: [19.08, 72.88],
  sao_paulo: [-23.55, -46.63],
  tokyo: [35.68, 139.69],
};

export const { about, readTool } = read({
  name: "{{name}}",
  description:
    "Says the weather at a place now. Without a place, it lists the places that it knows.",
  input: {
    place: audit.string("One of the places that the answer lists. Leave it out to see the list.", {
      optional: true,
    }),
  },
  output: {
    places: audit.list("string", "Places that can be asked for."),
    temperature_c: audit.number("Degrees Celsius; only if a place was named.", { optional: true }),
    wind_kmh: audit.number("Kilometres an hour; only if a place was named.", { optional: true }),
  },
  timeoutMs: 10_000,
  egress: [FORECAST],

  async call({ place }) {
    const places = Object.keys(PLACES);
    if (place == null) return { places };
    if (!Object.hasOwn(PLACES, place)) {
      throw new ToolError("not-found", `\`${place}\` is not a known place`, {
        hint: `use one of ${places.join(", ")}`,
      });
    }
    const [latitude, longitude] = PLACES[place];
    const current = "temperature_2m,wind_speed_10m";
    const query = new URLSearchParams({ latitude, longitude, current });
    // `success` turns a bad status into an error that the model can act on.
    const forecast = await success(await fetch(`${FORECAST}?${query}`)).json();
    return {
      places,
      temperature_c: forecast.current.temperature_2m,
      wind_kmh: forecast.current.wind_speed_10m,
    };
  },
});
