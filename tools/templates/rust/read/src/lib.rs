//! {{name}}: looks up the weather. Class `read`: it changes nothing, whatever it is asked.
//!
//! Change the address, the input and the output to what your API has. The host lets it send GET,
//! HEAD and OPTIONS alone, and only to origins that were granted when it was added.

use stoplog_sdk::prelude::*;

const FORECAST: &str = "https://api.open-meteo.com/v1/forecast";

/// Places that it knows: name, latitude, longitude.
const PLACES: [(&str, f64, f64); 5] = [
    ("berlin", 52.52, 13.41),
    ("lagos", 6.45, 3.39),
    ("mumbai", 19.08, 72.88),
    ("sao_paulo", -23.55, -46.63),
    ("tokyo", 35.68, 139.69),
];

#[input]
struct Question {
    /// One of the places that the answer lists. Leave it out to see the list.
    #[audit]
    place: Option<String>,
}

#[output]
struct Answer {
    /// Places that can be asked for.
    #[audit]
    places: Vec<String>,
    /// Degrees Celsius, two metres above the ground; only if a place was named.
    #[audit]
    temperature_c: Option<f64>,
    /// Kilometres an hour; only if a place was named.
    #[audit]
    wind_kmh: Option<f64>,
}

/// Says the weather at a place now. Without a place, it lists the places that it knows.
#[tool(class = read, timeout_ms = 10_000, egress = ["https://api.open-meteo.com/v1/forecast"])]
fn {{name}}(input: Question) -> Result<Answer, ToolError> {
    let places: Vec<String> = PLACES.iter().map(|p| p.0.to_owned()).collect();
    let Some(place) = input.place else {
        return Ok(Answer {
            places,
            temperature_c: None,
            wind_kmh: None,
        });
    };
    let Some((_, latitude, longitude)) = PLACES.iter().find(|p| p.0 == place) else {
        return Err(
            ToolError::not_found(format!("`{place}` is not a known place"))
                .hint(format!("use one of {}", places.join(", "))),
        );
    };
    let query: [(&str, &dyn std::fmt::Display); 3] = [
        ("latitude", latitude),
        ("longitude", longitude),
        ("current", &"temperature_2m,wind_speed_10m"),
    ];
    // `success` turns a bad status into an error that the model can act on.
    let forecast: Forecast = http::get_with(FORECAST, &query)?.success()?.json()?;
    Ok(Answer {
        places,
        temperature_c: Some(forecast.current.temperature_2m),
        wind_kmh: Some(forecast.current.wind_speed_10m),
    })
}

/// The answer of the API. Fields that are not named here are ignored.
#[wire]
struct Forecast {
    current: Current,
}

#[wire]
struct Current {
    temperature_2m: f64,
    wind_speed_10m: f64,
}
