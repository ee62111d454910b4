//! Known answers, and a deliberately dumb model that tries every minute.

use jiff::civil;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_nanos(u64::try_from(time.as_nanosecond()).unwrap())
}

fn backoff(schedule: &str, scheduled: &str, now: &str) -> Option<u64> {
    next_backoff(schedule, at(scheduled), at(now)).map(|backoff| backoff.as_secs())
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

#[test]
fn known_answers() {
    for (schedule, scheduled, now, expected) in [
        ("0 10 * * *", "2018-12-17T08:00:00-08:00", "2018-12-17T08:00:00-08:00", 18 * HOUR),
        ("0 10 * * *", "2018-12-18T02:00:00-08:00", "2018-12-18T02:00:00-08:00", 24 * HOUR),
        ("0 * * * *", "2018-12-17T08:08:00Z", "2018-12-17T08:08:00Z", 52 * MINUTE),
        ("0 * * * *", "2018-12-17T09:00:00Z", "2018-12-17T09:00:00Z", HOUR),
        ("* * * * *", "2018-12-17T08:08:18Z", "2018-12-17T08:08:18Z", 42),
        ("0 10 * * *", "2018-12-17T08:00:00Z", "2018-12-20T00:00:00Z", 10 * HOUR),
        ("*/10 * * * *", "2018-12-17T00:04:00Z", "2018-12-17T01:02:00Z", 8 * MINUTE),
        ("0 3 * * 0-6", "2018-12-17T16:00:00Z", "2018-12-17T16:00:00Z", 11 * HOUR),
        ("@every 5h", "2018-12-17T08:00:00Z", "2018-12-17T09:00:00Z", 4 * HOUR),
        ("@every 5h", "2018-12-17T08:00:00Z", "2018-12-18T00:00:00Z", 4 * HOUR),
        ("@every 30s", "2020-07-17T10:00:02Z", "2020-07-17T10:00:02Z", 30),
        ("@every 30s", "2020-07-17T10:00:02Z", "2020-09-17T04:00:53Z", 9),
        // Not due yet: the next run is the one that was scheduled.
        ("@every 30m", "2020-07-17T10:00:00Z", "2020-07-17T09:45:00Z", 15 * MINUTE),
        ("CRON_TZ=America/New_York 5 16 * * *", "2021-03-14T04:00:00Z", "2021-03-14T19:05:00Z", HOUR),
        ("CRON_TZ=America/New_York 5 4 * * *", "2021-11-25T05:00:00Z", "2021-11-25T08:05:00Z", HOUR),
        // Exactly due is due now.
        ("0 * * * *", "2018-12-17T08:00:00Z", "2018-12-17T09:00:00Z", 0),
    ] {
        assert_eq!(backoff(schedule, scheduled, now), Some(expected), "{schedule} {scheduled} {now}");
    }
}

#[test]
fn backoffs_are_rounded_up_to_seconds() {
    assert_eq!(backoff("* * * * *", "2018-12-17T08:08:17.3Z", "2018-12-17T08:08:17.3Z"), Some(43));
    assert_eq!(backoff("@every 10s", "2018-12-17T08:08:17.3Z", "2018-12-17T08:08:17.3Z"), Some(10));
}

#[test]
fn no_schedule_and_no_time() {
    let now = "2018-12-17T08:00:00Z";
    assert_eq!(backoff("", now, now), None);
    assert_eq!(backoff("nonsense", now, now), None);
    assert_eq!(backoff("0 0 31 2 *", now, now), None);
    // Eight years without a leap day.
    assert_eq!(backoff("0 0 29 2 *", "2097-01-01T00:00:00Z", "2097-01-01T00:00:00Z"), None);
    assert!(backoff("0 0 29 2 *", "2021-01-01T00:00:00Z", "2021-01-01T00:00:00Z").is_some());
}

#[test]
fn validation_says_what_is_wrong() {
    let check = |schedule: &str| validate(schedule, at("2018-12-17T08:00:00Z")).map_err(|error| error.to_string());
    assert_eq!(check(""), Ok(()));
    assert_eq!(check("* * * * *"), Ok(()));
    assert_eq!(check("* * * *"), Err("invalid CronSchedule.".into()));
    let never = "invalid CronSchedule, no time can be found to satisfy the schedule";
    assert_eq!(check("0 0 31 2 *"), Err(never.into()));
    assert_eq!(check("0 0 , * *"), Err(never.into()));
}

#[test]
fn what_is_a_schedule() {
    for text in [
        "* * * * *",
        "? ? ? ? ?",
        "1,2,,3 0 1 jan sun",
        "0-59/15 0-23/2 1-31 JAN-DEC Sun-Sat",
        "5/10 * * * *",
        "*/100 * * * *",
        "*-5 * * * *",
        "+5 * * * *",
        "  0   0 * *   *  ",
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
        "@every 1h30m",
        "@every 1.5h",
        "@every .5s",
        "@every 0",
        "@every -1h",
        "@every 100ms",
        "TZ=UTC * * * * *",
        "TZ= * * * * *",
        "CRON_TZ=Europe/Berlin   0 2 * * *",
        "CRON_TZ=Asia/Kolkata @daily",
    ] {
        assert!(Schedule::parse(text).is_some(), "{text}");
    }
    for text in [
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 7",
        "5-1 * * * *",
        "*/0 * * * *",
        "*/x * * * *",
        "1/2/3 * * * *",
        "1-2-3 * * * *",
        "-5 * * * *",
        "x * * * *",
        "jan * * * *",
        "@sometimes",
        "@every",
        "@every ",
        "@every 5",
        "@every 5x",
        "@every h",
        "@every 99999999999h",
        "@Daily",
        "TZ=Nowhere/Land * * * * *",
        "CRON_TZ=UTC",
    ] {
        assert!(Schedule::parse(text).is_none(), "{text}");
    }
}

#[test]
fn either_day_field_is_enough_when_neither_is_a_star() {
    let days = |schedule: &str| {
        let schedule = Schedule::parse(schedule).unwrap();
        let mut time = at("2018-12-01T00:00:00Z") - Duration::from_nanos(1);
        let mut days = Vec::new();
        while let Some(next) = schedule.next(time).filter(|next| *next < at("2019-01-01T00:00:00Z")) {
            days.push(next.since(at("2018-12-01T00:00:00Z")).as_secs() / (24 * HOUR) + 1);
            time = next;
        }
        days
    };
    assert_eq!(days("0 0 13 * fri"), [7, 13, 14, 21, 28]);
    assert_eq!(days("0 0 * * fri"), [7, 14, 21, 28]);
    assert_eq!(days("0 0 14 * *"), [14]);
    assert_eq!(days("0 0 14 * ?"), [14]);
    // A star with a step is a restriction like any other.
    assert_eq!(days("0 0 */10 * fri"), [1, 7, 11, 14, 21, 28, 31]);
}

#[test]
fn local_times_that_are_skipped_or_repeated() {
    let next = |time: &str| {
        let schedule = Schedule::parse("CRON_TZ=America/New_York 30 1,2 * * *").unwrap();
        schedule.next(at(time)).unwrap()
    };
    // 2021-03-14 has no 02:30.
    assert_eq!(next("2021-03-14T05:00:00Z"), at("2021-03-14T06:30:00Z"));
    assert_eq!(next("2021-03-14T06:30:00Z"), at("2021-03-15T05:30:00Z"));
    // 2021-11-07 has 01:30 twice.
    assert_eq!(next("2021-11-07T05:00:00Z"), at("2021-11-07T05:30:00Z"));
    assert_eq!(next("2021-11-07T05:30:00Z"), at("2021-11-07T06:30:00Z"));
    assert_eq!(next("2021-11-07T06:30:00Z"), at("2021-11-07T07:30:00Z"));
}

#[test]
fn a_midnight_that_does_not_exist_ends_a_day_all_the_same() {
    let schedule = Schedule::parse("CRON_TZ=America/Sao_Paulo 15 1 4 11 *").unwrap();
    // 2018-11-04 began at 01:00.
    assert_eq!(schedule.next(at("2018-10-01T00:00:00Z")), Some(at("2018-11-04T03:15:00Z")));
}

/// Field values written out as lists; `None` is a star.
type Fields = [Option<Vec<i8>>; 5];

/// Tries every minute for 400 days.
fn dumb_next(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let minute = after.as_nanos() / 60_000_000_000 + 1;
    (minute..minute + 400 * 24 * 60).map(|minute| Timestamp::from_millis(minute * 60_000)).find(|time| {
        let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())).unwrap();
        matches(fields, zone.to_datetime(time))
    })
}

fn matches(fields: &Fields, time: civil::DateTime) -> bool {
    let holds = |field: &Option<Vec<i8>>, value: i8| field.as_ref().is_none_or(|values| values.contains(&value));
    let [minute, hour, day, month, weekday] = fields;
    let (by_day, by_weekday) = (holds(day, time.day()), holds(weekday, time.weekday().to_sunday_zero_offset()));
    let on_day = if day.is_some() && weekday.is_some() { by_day || by_weekday } else { by_day && by_weekday };
    holds(minute, time.minute()) && holds(hour, time.hour()) && on_day && holds(month, time.month())
}

fn spec(fields: &Fields) -> String {
    let texts: Vec<String> = fields
        .iter()
        .map(|field| match field {
            None => "*".into(),
            Some(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        })
        .collect();
    texts.join(" ")
}

fn field(first: i8, last: i8) -> impl Strategy<Value = Option<Vec<i8>>> {
    proptest::option::weighted(0.5, proptest::collection::vec(first..=last, 1..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn agrees_with_trying_every_minute(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        zone in proptest::sample::select(vec![
            "UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo",
        ]),
        start_ms in 1_500_000_000_000_u64..1_700_000_000_000,
    ) {
        let fields: Fields = fields.into();
        let zoned = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(&format!("CRON_TZ={zone} {}", spec(&fields))).unwrap();
        let start = Timestamp::from_millis(start_ms);
        if let Some(expected) = dumb_next(&fields, &zoned, start) {
            prop_assert_eq!(schedule.next(start), Some(expected), "{} in {}", spec(&fields), zone);
        }
    }

    #[test]
    fn any_text_parses_or_does_not(text in "[ -~µ]{0,30}") {
        let _ = Schedule::parse(&text);
        let _ = Schedule::parse(&format!("@every {text}"));
        let _ = Schedule::parse(&format!("CRON_TZ={text}"));
    }
}
